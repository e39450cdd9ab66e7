-- Run `body`, and `wrong` only if it fails: to name the key that has another type than it should. Nearly every call
-- is spared the checks that way; `body` has to read what it relies on before it writes, or undo what it wrote.
local function guarded(wrong, body)
  local ok, reply = pcall(body)
  if ok then return reply end
  return wrong(true) or redis.error_reply(type(reply) == 'table' and reply.err or tostring(reply))
end
