// Package showtest is a terminal for tests.
package showtest
