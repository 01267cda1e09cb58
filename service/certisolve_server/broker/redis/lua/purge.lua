-- Forget dead letters. ARGV[2]: the id of one, or '' for all. Reply: how many.

local purged = 0
for _, entry in ipairs(redis.call('XRANGE', P .. ':dead', '-', '+')) do
  local id = nil
  for index = 1, #entry[2], 2 do
    if entry[2][index] == 'id' then id = entry[2][index + 1] end
  end
  if ARGV[2] == '' or ARGV[2] == id then
    redis.call('XDEL', P .. ':dead', entry[1])
    redis.call('DEL', P .. ':dead:' .. id)
    purged = purged + 1
  end
end
return purged
