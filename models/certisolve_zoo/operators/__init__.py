"""Neural operators in real arithmetic, channels last."""
