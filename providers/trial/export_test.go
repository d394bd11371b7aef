package trial

// Name is the engine's name and version.
func (e *Engine) Name() string { return e.name }
