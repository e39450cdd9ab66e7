-- What the deduplication marker of a message holds: its id, as this library writes it, or ''.
local function holder_of(stored)
  return string.match(stored, '^' .. PREFIX .. '{"id":"([^"\\]+)"') or ''
end
