$stdout.sync = true

puts "spinning"
loop {}
