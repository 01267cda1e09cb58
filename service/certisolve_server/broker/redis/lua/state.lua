-- Where a job stands. ARGV[2]: id. ARGV[3]: a gateway to be told of the next change, or ''.
-- ARGV[4]: watch no status other than this, or ''. ARGV[5]: '1' to cancel it, '2' to keep its result.
-- Reply: nil, or {status, submitted, claimed, started, position, expected seconds, field, payload, kept now,
-- share of the work that is done or '', newest frame of a kept job or ''}.

local function position_of(job)
  local out = redis.call('HGET', P .. ':flow:' .. job.flow, 'out')
  return math.max(0, tonumber(job.seq) - tonumber(out or 0) - 1)
end

local function expected_start(job, position)
  local tenants = math.max(1, redis.call('HLEN', P .. ':active'))
  return math.min(expected_seconds(job.model), position * tenants * pace_of(job.lane))
end

local function cancel(job)
  local detail = 'the job was cancelled'
  tell_loss(job)
  finish(job, 'cancelled', 'error', error_of('cancelled', detail))
  job.status = 'cancelled'
end

local function answer_of(job)
  if not ended(job) then return '', '' end
  local values = redis.call('HMGET', P .. ':job:' .. job.id, 'result', 'error')
  if values[1] then return 'result', values[1] end
  return values[2] and 'error' or '', values[2] or ''
end

local job = load_job(ARGV[2])
if not job then return nil end
local gateway, unlike, action = ARGV[3], ARGV[4], ARGV[5]
never_refused()
load_counters()
local kept_now = 0
if not ended(job) then
  if action == '1' then
    cancel(job)
  elseif job.status == 'queued' and late(job) then
    expire(job)
    job = load_job(job.id)
  elseif action == '2' then
    redis.call('HSET', P .. ':job:' .. job.id, 'keep', '1')
    job.keep = '1'
    local body = redis.call('HGET', P .. ':job:' .. job.id, 'body')
    if body then store_body(job, body) end
    kept_now = 1
  end
end
save_counters()
local position, expected = '', ''
if job.status == 'queued' then
  position = position_of(job)
  expected = tostring(expected_start(job, position))
end
local status = job.status == 'claimed' and 'queued' or job.status
if gateway ~= '' and not ended(job) and (unlike == '' or unlike == status) then
  redis.call('SADD', P .. ':watch:' .. job.id, gateway)
  redis.call('PEXPIRE', P .. ':watch:' .. job.id, WATCH_MS)
  redis.call('HSET', P .. ':job:' .. job.id, 'watched', 1)
end
local field, payload = answer_of(job)
return {status, job.submitted, job.claimed or '', job.started or '', tostring(position), expected,
  field, payload, kept_now, job.progress or '', job.latest or ''}
