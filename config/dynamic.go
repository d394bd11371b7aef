package config

const (
	dynamicBlock = "dynamic"
	contentBlock = "content"
)
