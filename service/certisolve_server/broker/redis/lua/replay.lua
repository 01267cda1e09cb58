-- Queue a dead letter again, with a clean record; its result is kept. ARGV[2]: id. Reply: 1 or 0.

local function letter_of(id)
  for _, entry in ipairs(redis.call('XRANGE', P .. ':dead', '-', '+')) do
    local letter = {}
    for index = 1, #entry[2], 2 do letter[entry[2][index]] = entry[2][index + 1] end
    if letter.id == id then return entry[1], letter end
  end
end

local entry, letter = letter_of(ARGV[2])
if not letter or letter.host ~= '' then return 0 end  -- shared memory does not last
load_counters()
local known = load_job(letter.id)
if known and not ended(known) then return 0 end
redis.call('XDEL', P .. ':dead', entry)
local body = redis.call('GETDEL', P .. ':dead:' .. letter.id)
local hash = P .. ':job:' .. letter.id
local token = redis.call('HGET', hash, 'token') or 0
redis.call('DEL', hash)
enqueue(letter, 'again')
redis.call('HSET', hash, 'status', 'queued', 'body', body, 'flow', letter.flow, 'entry', letter.entry,
  'seq', letter.seq, 'keep', '1', 'gateway', '', 'model', letter.model, 'lane', letter.lane, 'host', letter.host,
  'tenant', letter.tenant, 'score', letter.score, 'bytes', letter.bytes, 'submitted', letter.submitted, 'via', '',
  'token', token, 'crashes', 0)
change_lane(letter.lane, 1)
counters.jobs = counters.jobs + 1
counters.bytes = counters.bytes + tonumber(letter.bytes)
save_counters()
return 1
