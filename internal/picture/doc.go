// Package picture draws what phi3 measures as SVG files, which every browser shows and which can be read as text.
//
// It knows nothing of models. [Path] takes words and numbers and says where they go, element after element; [Panels] gives lines over
// whole numbers to a chart library, and [Panel.Text] draws them with characters.
package picture
