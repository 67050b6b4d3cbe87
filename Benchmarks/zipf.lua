-- wrk's requests: the next id of a list, over and over; ends with a line of what came of them.
-- Arguments: a file with an id in each line.
local requests, picks, at = {}, {}, 0

function init(arguments)
  for id in io.lines(arguments[1]) do
    requests[id] = requests[id] or wrk.format("GET", "/api/x?id=" .. id)
    picks[#picks + 1] = requests[id]
  end
end

function request()
  at = at % #picks + 1
  return picks[at]
end

function done(summary)
  local errors = summary.errors
  print(string.format("RESULT %d %d %d", summary.requests, errors.status,
                      errors.connect + errors.read + errors.write + errors.timeout))
end
