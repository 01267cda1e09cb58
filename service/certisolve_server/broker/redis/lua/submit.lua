-- Accept jobs, unless the bounds forbid it. ARGV[2..]: 15 values per job, as read below.
-- Reply: per job {'ok', id} | {'conflict', id} | {'full', what, expected seconds}.

local function seen_before(job, digest)
  if not job.idem then return nil end
  local seen = redis.call('GET', P .. ':idem:' .. job.idem)
  if not seen then return nil end
  local known, id = string.match(seen, '^(%S+) (%S+)$')
  if not load_job(id) then return nil end
  return {known == digest and 'ok' or 'conflict', id}
end

local function full(job)
  local what = nil
  if counters.jobs + 1 > conf.max_jobs then
    what = counters.jobs .. ' requests are waiting'
  elseif counters.bytes + tonumber(job.bytes) > conf.max_bytes then
    what = counters.bytes .. ' bytes are waiting'
  elseif job.keep == '1' and counters.results >= conf.max_result_bytes then
    what = counters.results .. ' bytes of results are kept'
  elseif ending(job.model) ~= '' then
    local count = work_like(job.model)
    if count + 1 > conf.max_certifications then what = count .. ' certifications are waiting' end
  end
  return what and {'full', what, tostring(expected_seconds(job.model))}
end

local function accept(job, kind, body, digest)
  enqueue(job, kind)
  local hash = P .. ':job:' .. job.id
  local values = {'status', 'queued', 'flow', job.flow, 'entry', job.entry,
    'seq', job.seq, 'keep', job.keep, 'gateway', job.gateway, 'model', job.model, 'lane', job.lane,
    'host', job.host, 'tenant', job.tenant, 'score', job.score, 'bytes', job.bytes,
    'submitted', job.submitted, 'via', job.via, 'token', 0, 'crashes', 0}
  for _, optional in ipairs({'deadline', 'idem'}) do
    if job[optional] then
      values[#values + 1] = optional
      values[#values + 1] = job[optional]
    end
  end
  redis.call('HSET', hash, unpack(values))
  store_body(job, body)
  if job.idem then
    redis.call('SET', P .. ':idem:' .. job.idem, digest .. ' ' .. job.id)
  end
  change_lane(job.lane, 1)
  counters.jobs = counters.jobs + 1
  counters.bytes = counters.bytes + tonumber(job.bytes)
  return {'ok', job.id}
end

-- A repetition, after an answer was lost on its way or Redis was, finds its job.
local function known_already(job, body)
  if redis.call('EXISTS', P .. ':job:' .. job.id) == 0 then return nil end
  local known = load_job(job.id)
  if known and not ended(known) and redis.call('HEXISTS', P .. ':job:' .. job.id, 'body') == 0 then
    store_body(known, body)
  end
  return {'ok', job.id}
end

local function or_nil(text) if text ~= '' then return text end end

load_counters()
forget_results()
local replies = {}
for first = 2, #ARGV, 15 do
  local job = {
    id = ARGV[first], bytes = ARGV[first + 2], model = ARGV[first + 3], lane = ARGV[first + 4],
    host = ARGV[first + 5], tenant = ARGV[first + 6], score = ARGV[first + 8],
    deadline = or_nil(ARGV[first + 9]), keep = ARGV[first + 10], gateway = ARGV[first + 11],
    submitted = ARGV[first + 12], via = ARGV[first + 14],
  }
  local key, digest = string.match(ARGV[first + 13], '^(%S+) (%S+)$')
  job.idem = key and (job.tenant .. ':' .. key)
  local body = ARGV[first + 1]
  replies[#replies + 1] = known_already(job, body) or seen_before(job, digest) or full(job)
    or accept(job, ARGV[first + 7], body, digest)
end
save_counters()
return replies
