package report

import (
	"image/color"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Colours have a name each, under which the page has one for light and one for dark. The plots are drawn with those for
// light; in the SVG of the page each is replaced by its name.
//
// Those of the servers can be told apart with any kind of colour blindness, and each server has dashes of its own
// besides. They are from the palettes of Okabe and Ito, and of Tol, some of them darker.
type colour struct {
	name        string // of the variable of CSS
	light, dark string // #rrggbb
}

var (
	ink   = colour{"ink", "#1c1e21", "#e8eaed"}
	muted = colour{"muted", "#5b6169", "#a9b0b8"}
	grid  = colour{"grid", "#e2e5e9", "#33383f"}
	band  = colour{"band", "#f2f4f7", "#20252b"}
	paper = colour{"paper", "#ffffff", "#16191d"}

	blue   = colour{"c-blue", "#0072b2", "#5bb8f0"}
	orange = colour{"c-orange", "#d55e00", "#ff9a56"}
	green  = colour{"c-green", "#007a5a", "#3fcf9f"}
	purple = colour{"c-purple", "#a0478f", "#e79fd6"}
	yellow = colour{"c-yellow", "#8a6d00", "#e6c84a"}
	indigo = colour{"c-indigo", "#3a2a92", "#a99cf5"}
	grey   = colour{"c-grey", "#6b6f75", "#b4b9bf"}
	red    = colour{"c-red", "#9b1c3c", "#ff8ba3"}
)

var colours = []colour{ink, muted, grid, band, paper, blue, orange, green, purple, yellow, indigo, grey, red}

// rgb is the colour for light.
func (c colour) rgb() color.RGBA {
	var v [3]uint8
	for i := range v {
		v[i] = hexDigit(c.light[1+2*i])<<4 | hexDigit(c.light[2+2*i])
	}
	return color.RGBA{v[0], v[1], v[2], 255}
}

func hexDigit(b byte) uint8 { return uint8(strings.IndexByte("0123456789abcdef", b)) }

// A stroke is how a server is drawn.
type stroke struct {
	colour colour
	dashes []vg.Length
	width  vg.Length
}

// strokes are those of servers that are known.
var strokes = map[string]stroke{
	"galago":                {blue, nil, 2},
	"galago, ReadWaits off": {indigo, []vg.Length{7, 2}, 1.5},
	"galago#2":              {indigo, []vg.Length{7, 2}, 1.5},
	"net":                   {orange, []vg.Length{5, 2.5}, 1.5},
	"net-queue":             {green, []vg.Length{8, 2, 2, 2}, 1.5},
	"net-bufio":             {yellow, []vg.Length{8, 2, 2, 2}, 1.5},
	"netpoll":               {purple, []vg.Length{2, 2}, 1.7},
	"raw":                   {grey, []vg.Length{1, 1.5}, 1.5},
}

// others are for those that are not.
var others = []stroke{
	{red, []vg.Length{10, 3}, 1.5}, {yellow, []vg.Length{3, 1.5}, 1.5}, {grey, []vg.Length{6, 2, 1, 2, 1, 2}, 1.5},
	{indigo, []vg.Length{4, 2}, 1.5}, {ink, []vg.Length{1, 2}, 1.5},
}

// strokeOf returns how the server with a name is drawn, which is the unknown number n of its run.
func strokeOf(name string, unknown int) (s stroke, known bool) {
	if s, ok := strokes[name]; ok {
		return s, true
	}
	return others[unknown%len(others)], false
}

// strokesOf returns the strokes of servers, by their names.
func strokesOf(names []string) map[string]stroke {
	all, unknown := map[string]stroke{}, 0
	for _, name := range names {
		s, known := strokeOf(name, unknown)
		if all[name] = s; !known {
			unknown++
		}
	}
	return all
}

// The font of plots. The page says Arial and the like where it is missing, which are as wide.
var sans = font.Font{Typeface: "Liberation", Variant: "Sans"}

func init() { plot.DefaultFont, plotter.DefaultFont = sans, sans }
