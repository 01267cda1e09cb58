-- Count claimed jobs as running. ARGV[2..]: id, token, ...
-- Reply: '1' or '0' per job, whether it is still wanted and still ours.

never_refused()
load_counters()
local wanted = {}
for index = 2, #ARGV, 2 do
  local job = load_job(ARGV[index])
  local ours = held(job, ARGV[index + 1])
  if ours and late(job) then
    expire(job)
    ours = false
  end
  if ours then
    redis.call('HSET', P .. ':job:' .. job.id, 'status', 'running', 'started', now)
    tell_watchers(job, 'running')
  end
  wanted[#wanted + 1] = ours and 1 or 0
end
save_counters()
return wanted
