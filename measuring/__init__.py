"""What training and load tests measure with.

answers         what came of a request and what it cost; read by every client
client          the client that drives a server      loops      many requests: closed or open loop
questions       a lab's questions as requests        scrape     what the server counts of itself
server_process  a server for as long as something is measured
estimators      statistics with intervals            plots      what every picture has in common
whole_file, row_file, strict_json, machine           files, and what a number was measured with
"""
