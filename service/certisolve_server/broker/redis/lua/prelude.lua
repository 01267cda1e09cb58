-- Keys of the queue and the functions its scripts share; prepended to every script.
--
-- KEYS[1] is P, the prefix of all keys, in braces so that a cluster keeps them on one node.
-- ARGV[1] is a JSON object: the bounds of the queue, and `now` where a test sets the time.
--
-- key                    type    TTL            holds
-- P:job:<id>             HASH    after its end  a job; fields below
-- P:stream:<flow>        STREAM  -              ids of queued and claimed jobs, group `workers`; the pending
--                                               entries are those in the hands of a worker
-- P:flow:<flow>          HASH    -              in, out: jobs that came and went, for positions;
--                                               head: number of the first to claim, to break ties
-- P:ready:<pool>         ZSET    -              flows with jobs to claim -> score of the first
-- P:idle:<pool>          SET     -              workers that wait for a job of the pool
-- P:in_hand              HASH    -              worker -> number of jobs in its hands
-- P:wake:<worker>        LIST    10 s           a token when there may be a job
-- P:vtime                HASH    -              account -> virtual time, in seconds of work
-- P:active               HASH    -              account -> number of its ready flows
-- P:lanes                HASH    -              lane -> number of jobs that have not ended
-- P:pace                 HASH    -              lane -> device seconds per job, a moving average
-- P:counters             HASH    -              jobs, bytes, results (bytes), virtual and
--                                               virtual~certify (times); number: of the last job put into line
-- P:leases               ZSET    -              claimed jobs -> when the lease ends
-- P:results              ZSET    -              <id>:<bytes> of kept results -> when they are forgotten
-- P:lost:<worker>        LIST    1 min          jobs that were cancelled in its hands, or taken from them
-- P:replies:<gateway>    STREAM  2 min          frames and ends of jobs, for the gateway that waits for them
-- P:watch:<id>           SET     1 day          further gateways that wait for a change of a job
-- P:idem:<tenant>:<key>  STRING  after the end  digest and id of the job submitted under the key
-- P:workers              ZSET    -              workers -> when they count as gone (written by the registry)
-- P:dead                 STREAM  -              jobs that were put aside, at most 1,000
-- P:dead:<id>            STRING  -              the body of one
--
-- A flow is <account>|<kind>|<lane>|<host>; a pool is <model>|<host>. Kinds: high, normal, low; again for
-- what was handed back; suspect for what ran when a worker died. A host other than '' means that only
-- workers of that machine can read the job's arrays. Models end in ~certify where no device runs the job, and
-- so does the name of the worker; an account is a tenant, with the same ending: such jobs keep accounts and a
-- virtual time of their own.
--
-- A job that ended without a result to keep leaves a tombstone for a minute: its status, its times and the
-- token that fences the late off.
--
-- Whoever waits for an answer that is not to be kept has the job in hand, and submits it again when Redis
-- comes back from an outage: the bodies of such jobs stay out of the append-only file, and a job that comes
-- back without one is forgotten, or gets it from that submission.
--
-- Entries are acknowledged and deleted together, and deleted when a queued job is cancelled: the lag that
-- XINFO reports is not to be relied on; the queue's own depth is (P:counters).

local P = KEYS[1]
local conf = cjson.decode(ARGV[1])
local GROUP = 'workers'
local DEFAULT_PACE, PACE_MEMORY, MAX_PACES = 0.001, 0.8, 10000
local MAX_FLOWS = 64           -- per pool; the oldest heads compete
local MAX_WAITING = 64         -- workers of which the freest is woken
local MAX_IDLE_TENANTS = 1024  -- before those without credit or debt are forgotten
local MAX_LOST = 4096          -- of a worker that takes no notice
local REPLIES_MS, WATCH_MS, WAKE_MS, ENDED_MS, LOST_MS = 120000, 86400000, 10000, 60000, 60000

local now = conf.now
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local FIELDS = {
  'status',     -- queued, claimed, running, succeeded, failed, cancelled
  'flow', 'entry', 'seq',                 -- where it waits, and its number there
  'keep', 'gateway', 'via', 'idem',       -- whether its result is kept, who waits and on which host, its key
  'model', 'lane', 'host', 'tenant', 'score', 'bytes',
  'deadline', 'submitted', 'claimed', 'started',  -- Unix seconds
  'token', 'crashes', 'worker', 'watched',  -- whether somebody was to be told of changes
  'progress',  -- share of its work that is done; absent until its worker tells
  'latest',  -- frame of a job that is kept; absent until its worker tells
  'forget_at',  -- when Redis is to have dropped it
}  -- besides body (until the end), result or error (of a kept one)

local counters
local function load_counters()
  local values = redis.call('HMGET', P .. ':counters', 'jobs', 'bytes', 'results', 'number',
    'virtual', 'virtual~certify')
  counters = {
    jobs = tonumber(values[1] or 0), bytes = tonumber(values[2] or 0),
    results = tonumber(values[3] or 0), number = tonumber(values[4] or 0),
    virtual = {[''] = tonumber(values[5] or 0), ['~certify'] = tonumber(values[6] or 0)},
  }
end

-- '~certify' of what no device runs, '' of all else.
local function ending(model)
  return string.match(model, '~certify$') or ''
end

local function virtual_of(account)
  return counters.virtual[ending(account)]
end

-- What many jobs of one script change alike is written once, by save_counters.
local lane_changes = {}  -- lane -> jobs that came less those that ended
local hand_changes = {}  -- worker -> jobs it was given less those that left it
local paces = {}         -- lane -> device seconds per job, learned in this script
local dropped = {}       -- flow -> entries to acknowledge and delete
local settle_flows

local function change_lane(lane, by)
  lane_changes[lane] = (lane_changes[lane] or 0) + by
end

local function change_hand(worker, by)
  if worker then hand_changes[worker] = (hand_changes[worker] or 0) + by end
end

local function save_changes(key, changes)
  for field, by in pairs(changes) do
    if redis.call('HINCRBY', key, field, by) <= 0 then redis.call('HDEL', key, field) end
    changes[field] = nil
  end
end

local function save_paces()
  for lane, pace in pairs(paces) do
    redis.call('HSET', P .. ':pace', lane, string.format('%.9f', pace))
  end
end

local function save_counters()
  settle_flows()
  save_changes(P .. ':lanes', lane_changes)
  save_changes(P .. ':in_hand', hand_changes)
  save_paces()
  redis.call('HSET', P .. ':counters', 'jobs', counters.jobs, 'bytes', counters.bytes,
    'results', counters.results, 'number', counters.number,
    'virtual', string.format('%.9f', counters.virtual['']))
  if counters.virtual['~certify'] > 0 then
    redis.call('HSET', P .. ':counters', 'virtual~certify',
      string.format('%.9f', counters.virtual['~certify']))
  end
end

local function load_job(id, fields)
  fields = fields or FIELDS
  local values = redis.call('HMGET', P .. ':job:' .. id, unpack(fields))
  if not values[1] then return nil end
  local job = {id = id}
  for index, field in ipairs(fields) do job[field] = values[index] or nil end
  if job.forget_at and tonumber(job.forget_at) <= now then return nil end
  return job
end

local function ended(job)
  return job.status ~= 'queued' and job.status ~= 'claimed' and job.status ~= 'running'
end

local function held(job, token)
  return job and job.token == token and (job.status == 'claimed' or job.status == 'running')
end

local function forget_results()
  local due = redis.call('ZRANGEBYSCORE', P .. ':results', '-inf', now, 'LIMIT', 0, 64)
  for _, member in ipairs(due) do
    counters.results = counters.results - tonumber(string.match(member, ':(%d+)$'))
    redis.call('ZREM', P .. ':results', member)
  end
end

local function pace_of(lane)
  return paces[lane] or tonumber(redis.call('HGET', P .. ':pace', lane) or DEFAULT_PACE)
end

local function learn_pace(lane, seconds)
  if not paces[lane] then
    paces[lane] = tonumber(redis.call('HGET', P .. ':pace', lane) or seconds)
    if redis.call('HLEN', P .. ':pace') >= MAX_PACES then redis.call('DEL', P .. ':pace') end
  end
  paces[lane] = PACE_MEMORY * paces[lane] + (1 - PACE_MEMORY) * seconds
end

-- Of the jobs that have not ended and run where those of `model` do: how many, and seconds they will take
-- all workers that live.
local function work_like(model)
  save_changes(P .. ':lanes', lane_changes)
  local lanes, count, total = redis.call('HGETALL', P .. ':lanes'), 0, 0
  for index = 1, #lanes, 2 do
    if ending(string.match(lanes[index], '^(.*):')) == ending(model) then
      local here = tonumber(lanes[index + 1])
      count, total = count + here, total + here * pace_of(lanes[index])
    end
  end
  local workers = redis.call('ZCOUNT', P .. ':workers', now, '+inf')
  return count, total / math.max(1, workers)
end

local function expected_seconds(model)
  local _, seconds = work_like(model)
  return seconds
end

local answered = {}
local function reply(gateway, id, status, field, payload)
  local stream = P .. ':replies:' .. gateway
  redis.call('XADD', stream, '*', 'i', id, 's', status, 'f', field, 'b', payload)
  if not answered[gateway] then redis.call('PEXPIRE', stream, REPLIES_MS) end
  answered[gateway] = true
end

local function tell_watchers(job, status)
  if not job.watched then return end
  local watchers = redis.call('SMEMBERS', P .. ':watch:' .. job.id)
  for _, gateway in ipairs(watchers) do reply(gateway, job.id, status, '', '') end
  if #watchers > 0 then redis.call('DEL', P .. ':watch:' .. job.id) end
end

-- Tell a worker that a job leaves its hands, and not by its own doing.
local function tell_loss(job)
  if not job.worker then return end
  local lost = P .. ':lost:' .. job.worker
  redis.call('RPUSH', lost, job.id)
  redis.call('LTRIM', lost, -MAX_LOST, -1)
  redis.call('PEXPIRE', lost, LOST_MS)
end

local function split_flow(flow)
  return string.match(flow, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)$')
end

local function drop_entry(flow, entry)
  dropped[flow] = dropped[flow] or {}
  table.insert(dropped[flow], entry)
end

-- Virtual time starts where the queue is: who was idle has no credit, who owes still owes.
local function tenant_becomes_active(tenant)
  local own = tonumber(redis.call('HGET', P .. ':vtime', tenant) or 0)
  if own <= virtual_of(tenant) then
    redis.call('HSET', P .. ':vtime', tenant, string.format('%.9f', virtual_of(tenant)))
  end
end

local function forget_idle_tenants()
  if redis.call('HLEN', P .. ':vtime') <= MAX_IDLE_TENANTS then return end
  local all = redis.call('HGETALL', P .. ':vtime')
  for index = 1, #all, 2 do
    local idle = redis.call('HEXISTS', P .. ':active', all[index]) == 0
    if idle and tonumber(all[index + 1]) <= virtual_of(all[index]) then
      redis.call('HDEL', P .. ':vtime', all[index])
    end
  end
end

local function flow_becomes_ready(flow, pool, tenant, score)
  redis.call('ZADD', P .. ':ready:' .. pool, score, flow)
  if redis.call('HINCRBY', P .. ':active', tenant, 1) == 1 then tenant_becomes_active(tenant) end
end

local in_line = {}  -- flows that are known to have a stream and to be ready
local function flow_leaves_ready(flow)
  in_line[flow] = nil
  local tenant, _, lane, host = split_flow(flow)
  local pool = string.match(lane, '^(.*):') .. '|' .. host
  if redis.call('ZREM', P .. ':ready:' .. pool, flow) == 0 then return end
  if redis.call('HINCRBY', P .. ':active', tenant, -1) <= 0 then
    redis.call('HDEL', P .. ':active', tenant)
    forget_idle_tenants()
  end
end

-- A flow may be ready although its last job to claim was cancelled, while others of it are being run.
local function drop_if_empty(flow)
  if dropped[flow] or redis.call('XLEN', P .. ':stream:' .. flow) > 0 then return end
  flow_leaves_ready(flow)
  redis.call('DEL', P .. ':stream:' .. flow, P .. ':flow:' .. flow)
end

local MAX_WORDS = 1000  -- of one command; Lua passes no more than some thousands
function settle_flows()
  local flows = dropped
  dropped = {}
  for flow, entries in pairs(flows) do
    local stream = P .. ':stream:' .. flow
    for first = 1, #entries, MAX_WORDS do
      local last = math.min(first + MAX_WORDS - 1, #entries)
      redis.call('XACK', stream, GROUP, unpack(entries, first, last))
      redis.call('XDEL', stream, unpack(entries, first, last))
    end
    drop_if_empty(flow)
  end
end

-- Of the workers that wait, the one with the fewest jobs in hand: a busy one waits for its next batch.
local function freest(waiting)
  if #waiting < 2 then return waiting[1] end
  local best, fewest = nil, math.huge
  for index, count in ipairs(redis.call('HMGET', P .. ':in_hand', unpack(waiting))) do
    if tonumber(count or 0) < fewest then
      best, fewest = waiting[index], tonumber(count or 0)
    end
  end
  return best
end

local nobody_idle = {}  -- pools without a worker that waits
local function wake_one(pool)
  if nobody_idle[pool] then return end
  local worker = freest(redis.call('SRANDMEMBER', P .. ':idle:' .. pool, MAX_WAITING))
  if worker then
    redis.call('SREM', P .. ':idle:' .. pool, worker)
    redis.call('LPUSH', P .. ':wake:' .. worker, 1)
    redis.call('PEXPIRE', P .. ':wake:' .. worker, WAKE_MS)
  end
  nobody_idle[pool] = not worker
end

-- Put a job into line; sets job.flow, job.entry and job.seq, which the caller stores.
local function enqueue(job, kind)
  local pool = job.model .. '|' .. job.host
  local account = job.tenant .. ending(job.model)
  job.flow = account .. '|' .. kind .. '|' .. job.lane .. '|' .. job.host
  local stream = P .. ':stream:' .. job.flow
  local known = in_line[job.flow]
  if not known and redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
  counters.number = counters.number + 1
  job.entry = redis.call('XADD', stream, '*', 'j', job.id, 's', job.score, 'n', counters.number)
  job.seq = redis.call('HINCRBY', P .. ':flow:' .. job.flow, 'in', 1)
  if not known and not redis.call('ZSCORE', P .. ':ready:' .. pool, job.flow) then
    redis.call('HSET', P .. ':flow:' .. job.flow, 'head', counters.number)
    flow_becomes_ready(job.flow, pool, account, job.score)
  end
  in_line[job.flow] = true
  wake_one(pool)
end

-- A script whose first write needs no memory runs to its end even when Redis has none left.
local function never_refused()
  redis.call('DEL', P .. ':nothing')
end

local function store_body(job, body)
  if job.keep ~= '1' then redis.set_repl(redis.REPL_NONE) end
  redis.call('HSET', P .. ':job:' .. job.id, 'body', body)
  redis.set_repl(redis.REPL_ALL)
end

-- Take a job out of the queue; of its hash, the caller disposes.
local function strike_off(job)
  redis.call('ZREM', P .. ':leases', job.id)
  drop_entry(job.flow, job.entry)
  counters.jobs = counters.jobs - 1
  counters.bytes = counters.bytes - tonumber(job.bytes)
  change_lane(job.lane, -1)
  change_hand(job.worker, -1)
end

-- A job without a body, of an outage: if anybody still waits for it, it is submitted again.
local function forget(job)
  strike_off(job)
  redis.call('DEL', P .. ':job:' .. job.id)
end

-- End a job: it leaves the queue, its answer is kept or sent, whoever waits is told.
local function finish(job, status, field, payload)
  local hash = P .. ':job:' .. job.id
  strike_off(job)
  local keep = job.keep == '1'
  if keep then
    local size = string.len(payload)
    redis.call('HDEL', hash, 'body', 'latest')
    redis.call('HSET', hash, 'status', status, field, payload, 'forget_at', now + conf.result_ttl_s)
    redis.call('PEXPIRE', hash, math.ceil(1000 * conf.result_ttl_s))
    redis.call('ZADD', P .. ':results', now + conf.result_ttl_s, job.id .. ':' .. size)
    counters.results = counters.results + size
  else
    redis.call('DEL', hash)
    redis.call('HSET', hash, 'status', status, 'token', job.token, 'submitted', job.submitted,
      'claimed', job.claimed or '', 'started', job.started or '')
    redis.call('PEXPIRE', hash, ENDED_MS)
  end
  if job.idem then
    redis.call('PEXPIRE', P .. ':idem:' .. job.idem, math.ceil(1000 * conf.result_ttl_s))
  end
  if job.gateway ~= '' then reply(job.gateway, job.id, status, field, keep and '' or payload) end
  tell_watchers(job, status)
end

local function error_of(code, detail)
  return cjson.encode({code = code, detail = detail, field = '', retry_after_s = cjson.null})
end

local function expire(job)
  local submitted, claimed = tonumber(job.submitted), tonumber(job.claimed or now)
  local where = string.format('%.3f s in the queue', claimed - submitted)
  if job.claimed then
    where = where .. string.format(', %.3f s waiting for the device', now - claimed)
  end
  finish(job, 'failed', 'error', error_of('deadline_exceeded', 'the deadline passed: ' .. where))
end

local function late(job)
  return job.deadline and tonumber(job.deadline) <= now
end

-- Take a claimed job from its worker and put it back into line.
local function requeue(job, kind)
  change_hand(job.worker, -1)
  redis.call('ZREM', P .. ':leases', job.id)
  drop_entry(job.flow, job.entry)
  enqueue(job, kind)
  local hash = P .. ':job:' .. job.id
  redis.call('HDEL', hash, 'worker', 'claimed', 'started', 'progress', 'latest')
  redis.call('HSET', hash, 'status', 'queued', 'flow', job.flow, 'entry', job.entry, 'seq', job.seq)
  tell_watchers(job, 'queued')
end
