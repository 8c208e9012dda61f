"""`workshop watch`: every save is checked at once, by a process that has imported everything.

`server` is that process, and `client` speaks to it; `listener` says what was saved. `state` decides
what happens next, and knows neither files nor terminals; `view` makes text of it, which `screen`
draws and `plain` prints. `session` ties them together.
"""
