-- What a script wrote before a refused command stays, and an ACL may refuse any command. So the second of two writes
-- that belong together is sent by pcall_redis: if its reply is an error, undo the first by the command given, and raise.
local function or_undo(reply, ...)
  if type(reply) ~= 'table' then return reply end
  call(...)
  error(reply.err, 0)
end
