require "fiddle"

Fiddle::Pointer.new(1)[0] # reads at address 1; Ruby says where it was, and aborts
