$stdout.sync = true

puts "sleeping"
sleep 3600
