package config

const maxText = 64 << 20 // bytes of a text
