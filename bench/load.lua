-- For wrk: sends the requests of a file one after another, each a length (4 octets, big-endian) and that many octets.
-- wrk -s load.lua URL -- FILE METHOD CONTENT_TYPE [once]   (GET: the octets are the path; POST: they are the body)
-- With "once" it says SENT on standard error when the last request of the file is sent, and sends no more: wrk itself waits
-- for its time to be over, or for SIGINT.

local requests, count, turn, once = {}, 0, 0, false

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local method, kind = args[2], args[3]
  once = args[4] == "once"
  while true do
    local head = file:read(4)
    if head == nil then break end
    local a, b, c, d = head:byte(1, 4)
    local octets = file:read(((a * 256 + b) * 256 + c) * 256 + d)
    count = count + 1
    if method == "GET" then
      requests[count] = wrk.format("GET", octets)
    else
      requests[count] = wrk.format("POST", nil, { ["Content-Type"] = kind }, octets)
    end
  end
  file:close()
end

function request()
  if once and turn == count then
    io.stderr:write("SENT\n")
    wrk.thread:stop()
  end
  turn = turn % count + 1
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "failed": %d, "p50_us": %d, "p99_us": %d}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
