-- Take jobs from workers whose leases ran out. Reply: {redelivered, put aside}.

local MAX_DEAD = 1000

local function make_room()
  if redis.call('XLEN', P .. ':dead') < MAX_DEAD then return end
  local oldest = redis.call('XRANGE', P .. ':dead', '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', P .. ':dead', oldest[1])
  redis.call('DEL', P .. ':dead:' .. oldest[2][2])
end

local function put_aside(job)
  local detail = string.format('it was running when its worker died, %d times; the last one was %s',
    job.crashes, job.worker)
  make_room()
  redis.call('SET', P .. ':dead:' .. job.id, redis.call('HGET', P .. ':job:' .. job.id, 'body'))
  redis.call('XADD', P .. ':dead', '*', 'id', job.id, 'model', job.model,
    'lane', job.lane, 'host', job.host, 'tenant', job.tenant, 'score', job.score,
    'submitted', job.submitted, 'bytes', job.bytes, 'reason', detail, 'deliveries', job.crashes,
    'worker', job.worker, 'died', now)
  finish(job, 'failed', 'error', error_of('dead_lettered', detail))
end

local function take_back(job)
  if job.status == 'claimed' then
    requeue(job, tonumber(job.crashes) > 0 and 'suspect' or 'again')
    return 'redelivered'
  end
  job.crashes = redis.call('HINCRBY', P .. ':job:' .. job.id, 'crashes', 1)
  if job.crashes >= conf.max_deliveries then
    put_aside(job)
    return 'dead'
  end
  requeue(job, 'suspect')
  return 'redelivered'
end

never_refused()
load_counters()
local count = {redelivered = 0, dead = 0}
local due = redis.call('ZRANGEBYSCORE', P .. ':leases', '-inf', now, 'LIMIT', 0, 256)
for _, id in ipairs(due) do
  redis.call('ZREM', P .. ':leases', id)
  local job = load_job(id)
  if job and not ended(job) then tell_loss(job) end
  if job and not ended(job) and redis.call('HEXISTS', P .. ':job:' .. id, 'body') == 0 then
    forget(job)
  elseif job and not ended(job) and job.status ~= 'queued' then
    local what = take_back(job)
    count[what] = count[what] + 1
  end
end
forget_results()
save_counters()
return {count.redelivered, count.dead}
