$stdout.sync = true # a question must be seen before its answer is read

print "Who are you? "
while (name = $stdin.gets(chomp: true))
  puts "Hello, #{name}!"
  print "Who are you? "
end
puts "Bye."
