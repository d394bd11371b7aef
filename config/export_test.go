package config

// WithLimits makes an evaluation's limits lower, so that tests reach them soon.
func WithLimits(elements, text int64, parts int) LoadOption {
	return func(l *loader) { l.meter.maxElements, l.meter.maxText, l.meter.maxParts = elements, text, parts }
}
