-- Tell frames of claimed jobs to the gateways that wait for them, and keep the last of a job that is kept.
-- ARGV[2..]: id, token, frame, ...
-- Reply: per frame '1' if it was told, '0' if its claim does not count any more or nobody waits.

-- Frames stay out of the append-only file, as the answer will have them all. They do not prolong the life of
-- a stream, so that those for a gateway that is gone do not pile up.
local function tell(job, frame)
  local stream = P .. ':replies:' .. job.gateway
  redis.set_repl(redis.REPL_NONE)
  redis.call('XADD', stream, '*', 'i', job.id, 's', job.status, 'f', 'frame', 'b', frame)
  if redis.call('PTTL', stream) < 0 then redis.call('PEXPIRE', stream, REPLIES_MS) end
  redis.set_repl(redis.REPL_ALL)
end

local function note(job, frame)
  redis.set_repl(redis.REPL_NONE)
  redis.call('HSET', P .. ':job:' .. job.id, 'latest', frame)
  redis.set_repl(redis.REPL_ALL)
end

local told = {}
for index = 2, #ARGV, 3 do
  local job = load_job(ARGV[index], {'status', 'token', 'gateway', 'keep', 'forget_at'})
  local counts = held(job, ARGV[index + 1])
  if counts and job.keep == '1' then
    note(job, ARGV[index + 2])
  elseif counts and job.gateway ~= '' then
    tell(job, ARGV[index + 2])
  end
  told[#told + 1] = counts and (job.keep == '1' or job.gateway ~= '') and 1 or 0
end
return told
