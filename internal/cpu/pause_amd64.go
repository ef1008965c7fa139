package cpu

// pause lets a microsecond or less pass, in a way that leaves the core to its other hardware thread.
func pause()
