-- End claimed jobs. ARGV[2..]: id, token, status, field, payload, device seconds or ''; per job.
-- A payload that starts with @shm: lies in memory of the host of who waits.
-- Reply: per job 'ok', 'late' if it was fenced off or had ended, or 'kept' if a result that is to be kept by
-- now came as such a reference: it is to be sent again in full.

never_refused()
load_counters()
local replies = {}
for index = 2, #ARGV, 6 do
  local job = load_job(ARGV[index])
  if not held(job, ARGV[index + 1]) then
    replies[#replies + 1] = 'late'
  elseif job.keep == '1' and string.sub(ARGV[index + 4], 1, 5) == '@shm:' then
    replies[#replies + 1] = 'kept'
  else
    finish(job, ARGV[index + 2], ARGV[index + 3], ARGV[index + 4])
    if ARGV[index + 5] ~= '' then learn_pace(job.lane, tonumber(ARGV[index + 5])) end
    replies[#replies + 1] = 'ok'
  end
end
save_counters()
return replies
