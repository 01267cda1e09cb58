-- Hand claimed jobs back, ahead of others and without blame. ARGV[2..]: id, token, ...

never_refused()
load_counters()
for index = 2, #ARGV, 2 do
  local job = load_job(ARGV[index])
  if held(job, ARGV[index + 1]) then
    requeue(job, tonumber(job.crashes) > 0 and 'suspect' or 'again')
  end
end
save_counters()
