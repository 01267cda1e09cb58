-- Work that has not ended. Reply: {jobs, bytes, expected seconds of the devices}.

load_counters()
return {counters.jobs, counters.bytes, tostring(expected_seconds(''))}
