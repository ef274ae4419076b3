loop { puts "All work and no play makes Jack a dull boy." }
