-- Count claimed jobs as running. ARGV[2..]: id, token, ...
-- Reply: per job 1 if it is still wanted and still ours, 2 if its deadline has passed, else 0.

never_refused()
load_counters()
local wanted = {}
for index = 2, #ARGV, 2 do
  local job = load_job(ARGV[index])
  local ours = held(job, ARGV[index + 1])
  local is_late = ours and late(job)
  if is_late then
    expire(job)
  elseif ours then
    redis.call('HSET', P .. ':job:' .. job.id, 'status', 'running', 'started', now)
    tell_watchers(job, 'running')
  end
  wanted[#wanted + 1] = is_late and 2 or ours and 1 or 0
end
save_counters()
return wanted
