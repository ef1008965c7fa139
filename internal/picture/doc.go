// Package picture draws what phi3 measures as SVG files. Every browser shows them, and they are text.
//
// The package does not use other packages' types for models and tokens. [Path] draws the path of a prompt
// from words and numbers. A [Chart] draws lines over whole numbers, and [Panel.Text] draws the same lines
// with characters. Texts are cut to a width, so the size of a picture has a limit whatever texts it shows.
package picture
