-- The full check for what a guarded script does rarely: before it writes to more than the message that it takes.
local function ensure(keys)
  local alien = keys.wrong and keys.wrong()
  if alien then error(alien.err, 0) end
end
