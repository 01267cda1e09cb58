-- Sessions between calls. ARGV[2] says what is asked, ARGV[3] of which session.
--
--   create   data, time to live in seconds, most bytes of all sessions
--   read     the sequence that the caller has at hand, or ''
--   replace  the sequence it was made from, data, most bytes of all sessions
--   delete
--
-- Reply: a word, and what belongs to it: {'kept', ''}, {'deleted', ''}, {'unknown', ''}, {'conflict', ''},
-- {'full', seconds until the next session is forgotten}, {'known', sequence} where the caller has it at
-- hand, {sequence, data} where not.
--
-- key               type   TTL            holds
-- P:session:<id>    HASH   while it lives sequence, data, ttl (seconds)
-- P:sessions        ZSET   -              id -> when it is forgotten, Unix seconds
-- P:session_sizes   HASH   -              id -> bytes; total -> of all sessions

local what, id = ARGV[2], ARGV[3]
local HASH, ALIVE, SIZES = P .. ':session:' .. id, P .. ':sessions', P .. ':session_sizes'
local GRACE_MS = 60000  -- the set says who is alive; the keys go by themselves if nobody looks

local function drop(gone)
  local size = tonumber(redis.call('HGET', SIZES, gone) or 0)
  redis.call('DEL', P .. ':session:' .. gone)
  redis.call('ZREM', ALIVE, gone)
  redis.call('HDEL', SIZES, gone)
  if redis.call('HINCRBY', SIZES, 'total', -size) <= 0 then redis.call('HDEL', SIZES, 'total') end
end

local function find()
  local forget_at = tonumber(redis.call('ZSCORE', ALIVE, id) or 0)
  if forget_at <= now then return nil end
  local values = redis.call('HMGET', HASH, 'sequence', 'ttl')
  if not values[1] then return nil end
  return {sequence = values[1], ttl = tonumber(values[2])}
end

local function touch(ttl)
  redis.call('ZADD', ALIVE, now + ttl, id)
  redis.call('PEXPIRE', HASH, math.ceil(1000 * ttl) + GRACE_MS)
end

-- nil for room enough, else seconds until the next session is forgotten.
local function wait_for(bytes, most)
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', ALIVE, '-inf', now, 'LIMIT', 0, 256)) do
    drop(gone)
  end
  if tonumber(redis.call('HGET', SIZES, 'total') or 0) + bytes <= most then return nil end
  local first = redis.call('ZRANGE', ALIVE, 0, 0, 'WITHSCORES')
  return tostring(math.max((tonumber(first[2]) or now) - now, 0))
end

local function put(sequence, data, ttl)
  redis.call('HSET', HASH, 'sequence', sequence, 'data', data, 'ttl', ttl)
  redis.call('HSET', SIZES, id, #data)
  redis.call('HINCRBY', SIZES, 'total', #data)
  touch(ttl)
end

if what == 'create' then
  local wait_s = wait_for(#ARGV[4], tonumber(ARGV[6]))
  if wait_s then return {'full', wait_s} end
  put(0, ARGV[4], tonumber(ARGV[5]))
  return {'kept', ''}
end

local session = find()
if not session then return {'unknown', ''} end

if what == 'read' then
  touch(session.ttl)
  if session.sequence == ARGV[4] then return {'known', session.sequence} end
  return {session.sequence, redis.call('HGET', HASH, 'data')}
end

if what == 'replace' then
  if session.sequence ~= ARGV[4] then return {'conflict', ''} end
  local before = tonumber(redis.call('HGET', SIZES, id))
  local wait_s = wait_for(#ARGV[5] - before, tonumber(ARGV[6]))
  if wait_s then return {'full', wait_s} end
  drop(id)
  put(tonumber(ARGV[4]) + 1, ARGV[5], session.ttl)
  return {'kept', ''}
end

drop(id)
return {'deleted', ''}
