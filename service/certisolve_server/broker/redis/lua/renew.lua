-- Hold claimed jobs for another lease. ARGV[2..]: id, token, share of the work that is done or '', ...
-- Reply: '1' or '0' per job, whether it is still wanted and still ours.

never_refused()
local ours = {}
for index = 2, #ARGV, 3 do
  local job, progress = load_job(ARGV[index]), ARGV[index + 2]
  local is_held = held(job, ARGV[index + 1])
  if is_held then
    redis.call('ZADD', P .. ':leases', now + conf.lease_s, job.id)
    if progress ~= '' then redis.call('HSET', P .. ':job:' .. job.id, 'progress', progress) end
  end
  ours[#ours + 1] = is_held and 1 or 0
end
return ours
