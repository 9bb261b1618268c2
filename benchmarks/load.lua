-- For wrk: send bodies from a file, a line each, after a pause. Arguments: FILE PAUSE_MS

local bodies = {}
local pause

function init(args)
  for line in io.lines(args[1]) do
    table.insert(bodies, wrk.format("POST", nil, nil, line))
  end
  pause = tonumber(args[2])
end

function request()
  return bodies[math.random(#bodies)]
end

function delay()
  return pause
end

function done(summary, latency)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  local p50, p99 = latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  local found = {summary.requests, summary.duration / 1e6, errors.status, lost, p50, p99}
  print("RESULT [" .. table.concat(found, ", ") .. "]")
end
