package cpu

// pause waits for up to a microsecond, and leaves the core to its other hardware thread meanwhile.
func pause()
