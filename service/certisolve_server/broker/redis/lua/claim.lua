-- Hand jobs of one lane to a worker.
-- ARGV[2]: worker. ARGV[3]: its host. ARGV[4]: '1' to count them as running at once. ARGV[5]: '1' if the
-- worker waits among the idle. ARGV[6]: JSON {model: [limit, {lane: limit}]}. ARGV[7]: most bytes.
-- Reply: {number of jobs whose deadline had passed, id, token, suspect, deadline or '', host of who waits
-- or '', body, ...}; an idle worker that gets none is woken when there may be one.

local worker, host, start = ARGV[2], ARGV[3], ARGV[4] == '1'
local capacity, max_bytes = cjson.decode(ARGV[6]), tonumber(ARGV[7])

local function each_pool(visit)
  for model in pairs(capacity) do
    visit(model, model .. '|')
    if host ~= '' then visit(model, model .. '|' .. host) end
  end
end

local vtimes, charged = {}, {}
local function vtime_of(tenant)
  if not vtimes[tenant] then
    vtimes[tenant] = tonumber(redis.call('HGET', P .. ':vtime', tenant) or virtual_of(tenant))
  end
  return vtimes[tenant]
end

local function candidates()
  local found = {}
  each_pool(function(model, pool)
    local flows = redis.call('ZRANGE', P .. ':ready:' .. pool, 0, MAX_FLOWS - 1, 'WITHSCORES')
    for index = 1, #flows, 2 do
      local tenant, kind, lane = split_flow(flows[index])
      local limit = capacity[model][2][lane] or capacity[model][1]
      if limit > 0 then
        found[#found + 1] = {
          flow = flows[index], score = tonumber(flows[index + 1]), pool = pool, tenant = tenant,
          kind = kind, lane = lane, limit = limit, pace = pace_of(lane),
        }
      end
    end
  end)
  return found
end

local function number_of(flow)
  return tonumber(redis.call('HGET', P .. ':flow:' .. flow.flow, 'head') or 0)
end

-- Start-time fair queueing between tenants; within one, what was handed back, then the head that has
-- waited longest, its head start counted.
local function before(a, b)
  local mine, other = vtime_of(a.tenant), vtime_of(b.tenant)
  if mine ~= other then return mine < other end
  if (a.kind == 'again') ~= (b.kind == 'again') then return a.kind == 'again' end
  if a.score ~= b.score then return a.score < b.score end
  return number_of(a) < number_of(b)
end

local function first_of(flows)
  local best = nil
  for _, candidate in ipairs(flows) do
    if not candidate.drained and (not best or before(candidate, best)) then best = candidate end
  end
  return best
end

local WITH_BODY = {unpack(FIELDS)}
table.insert(WITH_BODY, 'body')

local num_late, claimed, leases = 0, {}, {}
local function deliver(job, flow)
  local hash = P .. ':job:' .. job.id
  local token = redis.call('HINCRBY', hash, 'token', 1)
  if start then
    redis.call('HSET', hash, 'status', 'running', 'worker', worker, 'claimed', now, 'started', now)
    tell_watchers(job, 'running')
  else
    redis.call('HSET', hash, 'status', 'claimed', 'worker', worker, 'claimed', now)
  end
  if token > 1 then redis.call('LREM', P .. ':lost:' .. worker, 0, job.id) end
  change_hand(worker, 1)
  leases[#leases + 1] = now + conf.lease_s
  leases[#leases + 1] = job.id
  local suspect = tonumber(job.crashes) > 0 and 1 or 0
  for _, value in ipairs({job.id, token, suspect, job.deadline or '', job.via, job.body}) do
    claimed[#claimed + 1] = value
  end
  local times = counters.virtual
  times[ending(flow.tenant)] = math.max(virtual_of(flow.tenant), vtime_of(flow.tenant))
  vtimes[flow.tenant] = vtime_of(flow.tenant) + flow.pace
  charged[flow.tenant] = true
  max_bytes = max_bytes - string.len(job.body)
end

-- Deliver one entry, or end the job it stands for; how many jobs were delivered.
local function take_entry(flow, entry, id)
  local job = load_job(id, WITH_BODY)
  if not job or job.status ~= 'queued' or job.entry ~= entry then
    drop_entry(flow.flow, entry)
    return 0
  end
  if not job.body then
    forget(job)
    return 0
  end
  if late(job) then
    job.status = 'claimed'
    expire(job)
    num_late = num_late + 1
    return 0
  end
  deliver(job, flow)
  return 1
end

local function next_head(flow, last)
  local stream = P .. ':stream:' .. flow.flow
  local rest = last and redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1) or {}
  if #rest == 0 then
    flow.drained = true
    flow_leaves_ready(flow.flow)
    drop_if_empty(flow.flow)
  else
    flow.score = tonumber(rest[1][2][4])
    redis.call('HSET', P .. ':flow:' .. flow.flow, 'head', rest[1][2][6])
    redis.call('ZADD', P .. ':ready:' .. flow.pool, flow.score, flow.flow)
  end
end

-- Up to `wanted` jobs from one flow; how many.
local function take(flow, wanted)
  local stream, taken = P .. ':stream:' .. flow.flow, 0
  while taken < wanted and not flow.drained do
    local reply = redis.call('XREADGROUP', 'GROUP', GROUP, worker, 'COUNT', wanted - taken,
      'STREAMS', stream, '>')
    local entries = reply and reply[1][2] or {}
    local last = nil
    for _, entry in ipairs(entries) do
      last = entry[1]
      taken = taken + take_entry(flow, entry[1], entry[2][2])
    end
    if redis.call('EXISTS', stream) == 1 then
      redis.call('HINCRBY', P .. ':flow:' .. flow.flow, 'out', #entries)
    end
    next_head(flow, last)
  end
  return taken
end

-- No more of a lane at once than `max_bytes` holds, but always one; the jobs of a lane are of one size.
local function affordable(wanted, taken, before_bytes)
  if taken == 0 then return 1 end
  local each = (before_bytes - max_bytes) / taken
  return math.min(wanted, math.floor(max_bytes / math.max(1, each)))
end

-- Fill the batch from every tenant's flows of one lane, in rounds of equal shares.
local function fill(flows, lane, limit)
  local mates, tenants, seen = {}, 0, {}
  for _, flow in ipairs(flows) do
    if flow.lane == lane and flow.kind ~= 'suspect' then
      mates[#mates + 1] = flow
      if not seen[flow.tenant] then seen[flow.tenant], tenants = true, tenants + 1 end
    end
  end
  local budget, taken = max_bytes, 0
  while taken < limit do
    local flow = first_of(mates)
    if not flow then return end
    local share = math.ceil((limit - taken) / tenants)
    local wanted = affordable(share, taken, budget)
    if wanted < 1 then return end
    taken = taken + take(flow, wanted)
  end
end

local function claim()
  while #claimed == 0 do
    local flows = candidates()
    local best = first_of(flows)
    if not best then return end
    if best.kind == 'suspect' then
      take(best, 1)
    else
      fill(flows, best.lane, best.limit)
    end
  end
end

load_counters()
claim()
for tenant in pairs(charged) do
  redis.call('HSET', P .. ':vtime', tenant, string.format('%.9f', vtimes[tenant]))
end
for first = 1, #leases, MAX_WORDS do
  local last = math.min(first + MAX_WORDS - 1, #leases)
  redis.call('ZADD', P .. ':leases', unpack(leases, first, last))
end
save_counters()
if #claimed > 0 and ARGV[5] == '1' then
  redis.call('DEL', P .. ':wake:' .. worker)
  each_pool(function(_, pool) redis.call('SREM', P .. ':idle:' .. pool, worker) end)
elseif #claimed == 0 then
  redis.call('DEL', P .. ':wake:' .. worker)
  each_pool(function(_, pool) redis.call('SADD', P .. ':idle:' .. pool, worker) end)
end
table.insert(claimed, 1, num_late)
return claimed
