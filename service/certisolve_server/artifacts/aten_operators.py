"""The operators a program may be made of: dense arithmetic that touches its own tensors alone.

ATen holds more than that. `from_file` writes files, `set_` and the sparse and quantised
constructors trust indices, `manual_seed` changes the whole process. So operators are listed, not
excluded; one that a model needs is added here by name.
"""

import re

# Each also with a trailing underscore, in place.
_LISTED = """
    abs acos acosh add addbmm addcdiv addcmul addmm addmv addr adjoint alias all amax amin aminmax
    angle any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort
    asin asinh atan atan2 atanh atleast_1d atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d
    baddbmm batch_norm bilinear bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor block_diag bmm broadcast_tensors broadcast_to bucketize
    cartesian_prod cat cdist ceil celu chain_matmul channel_shuffle cholesky chunk clamp clamp_max
    clamp_min clip clone col2im column_stack complex concat concatenate conj conj_physical
    constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d
    conv_transpose3d convolution copy copysign cos cosh cosine_similarity count_nonzero cross cummax
    cummin cumprod cumsum cumulative_trapezoid deg2rad det detach detach_copy diag diag_embed
    diagflat diagonal diagonal_copy diagonal_scatter diff digamma dist div divide dot dropout dsplit
    dstack einsum elu embedding empty empty_like empty_permuted eq erf erfc erfinv exp exp2 expand
    expand_as expand_copy expm1 eye feature_dropout fill fix flatten flip fliplr flipud float_power
    floor floor_divide fmax fmin fmod frac frexp frobenius_norm full full_like gather gcd ge gelu
    ger glu greater greater_equal grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru
    gru_cell gt hann_window hardshrink hardsigmoid hardswish hardtanh heaviside hstack hsplit hypot
    i0 igamma igammac im2col imag index index_add index_copy index_fill index_put index_select inner
    instance_norm inverse isclose isfinite isin isinf isnan isneginf isposinf isreal item kron
    layer_norm lcm ldexp le leaky_relu lerp less less_equal lgamma lift lift_fresh lift_fresh_copy
    linear linspace log log10 log1p log2 log_sigmoid log_softmax logaddexp logaddexp2 logcumsumexp
    logdet logical_and logical_not logical_or logical_xor logit logspace logsumexp lstm lstm_cell lt
    mH mT masked_fill masked_scatter masked_select matmul matrix_H matrix_exp matrix_power max
    max_pool1d max_pool2d max_pool2d_with_indices max_pool3d maximum mean median meshgrid min
    minimum mish mm moveaxis movedim msort mul multiply mv mvlgamma nan_to_num nanmean nansum narrow
    narrow_copy native_batch_norm native_dropout native_group_norm native_layer_norm ne neg negative
    new_empty new_empty_strided new_full new_ones new_zeros nextafter nonzero norm not_equal
    nuclear_norm numel numpy_T one_hot ones ones_like outer pad pairwise_distance pdist permute
    permute_copy pinverse pixel_shuffle pixel_unshuffle polar polygamma positive pow prelu prod qr
    quantile rad2deg ravel real reciprocal reflection_pad1d reflection_pad2d reflection_pad3d relu
    relu6 remainder renorm repeat repeat_interleave replication_pad1d replication_pad2d
    replication_pad3d reshape reshape_as resolve_conj resolve_neg rms_norm rnn_relu rnn_relu_cell
    rnn_tanh rnn_tanh_cell roll rot90 round row_stack rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select select_copy
    select_scatter selu sgn sigmoid sign signbit silu sin sinc sinh size slice slice_copy
    slice_scatter slogdet softmax softplus softshrink sort split split_copy split_with_sizes
    split_with_sizes_copy sqrt square squeeze squeeze_copy stack std std_mean sub subtract sum
    sum_to_size svd swapaxes swapdims sym_constrain_range sym_constrain_range_for_size sym_numel
    sym_size sym_storage_offset sym_stride t t_copy take take_along_dim tan tanh tensor_split
    tensordot threshold tile to topk trace transpose transpose_copy trapezoid trapz triangular_solve
    tril tril_indices triu triu_indices true_divide trunc type_as unbind unbind_copy unflatten
    unfold unfold_copy unsqueeze unsqueeze_copy upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
    vander var var_mean vdot view view_as view_as_complex view_as_complex_copy view_as_real
    view_as_real_copy view_copy vsplit vstack where xlogy zero zeros zeros_like
    __and__ __or__ __xor__ __lshift__ __rshift__ __iand__ __ior__ __ixor__
    _adaptive_avg_pool2d _assert_scalar _assert_tensor_metadata _cdist_forward _conj _convolution
    _fft_c2c _fft_c2r _fft_r2c _linalg_det _linalg_eigh _linalg_slogdet _linalg_solve_ex _linalg_svd
    _local_scalar_dense _log_softmax _native_batch_norm_legit_no_training _neg_view _pdist_forward
    _prelu_kernel _reshape_copy _safe_softmax
    _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy _unsafe_view
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d as_strided
    """
_NAMES = frozenset(_LISTED.split())
_FAMILIES = re.compile(r"(fft|linalg|special)_[a-z]\w*", re.ASCII)
_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.[A-Za-z]\w*", re.ASCII)
# On sizes, in Python.
_SCALAR = re.compile(
    r"torch\.(sym_(float|int|not|max|min|ite|sqrt|sum)|_sym_sqrt)|math\.(ceil|floor|trunc)"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|lshift|rshift|eq|ne|lt|le"
    r"|gt|ge|and_|or_)"
)


def is_aten_operator(target: str) -> bool:
    """Whether a serialised graph may call `target`, `torch.ops.aten.add.Tensor`."""
    match = _ATEN.fullmatch(target)
    if match is None:
        return bool(_SCALAR.fullmatch(target))
    name = match[1]
    names = (name, name.removesuffix("_"))
    return any(name in _NAMES or _FAMILIES.fullmatch(name) for name in names)
