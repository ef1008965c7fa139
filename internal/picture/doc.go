// Package picture draws what phi3 measures as SVG files, which every browser shows and which can be read as
// text.
//
// It knows nothing of models. [Path] takes words and numbers and says where they go, element after element; a
// [Chart] has lines over whole numbers, and [Panel.Text] draws them with characters. No picture grows with
// what a stranger's texts weigh: they are cut to a width.
package picture
