-- The answer of `body`, and of `wrong` only if that fails: to name the key that has another type than it should. Nearly every
-- call is spared the checks that way; `body` has to read what it relies on before it writes, or undo what it wrote.
local ok, reply = pcall(body)
if ok then return reply end
return wrong(true) or redis.error_reply(type(reply) == 'table' and reply.err or tostring(reply))
