-- At maxmemory the server refuses a script's first command that may grow memory, and no later one once the script
-- has written. Taking work out must always be possible, so such scripts begin with a write that frees: they remove
-- the records of earlier calls, KEYS from `first` on, which nobody needs any more, or else a field that `hash` lacks.
local function admit(hash, first)
  if first and KEYS[first] then
    call('DEL', unpack(KEYS, first))
  else
    call('HDEL', hash, '')
  end
end
