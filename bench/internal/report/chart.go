package report

import (
	"image/color"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A chart is one plot: a title, a legend, and lines or ranges over two axes.
type chart struct {
	id     string // unique in its report; also the name of its PNG
	title  string // with the unit
	says   string // what is to be seen, for who does not see it
	height vg.Length

	x, y   axis
	bands  []stretch
	lines  []line
	limits []limit
	ranges []span
}

// chartWidth is that of every chart, in points. On a telephone they become a little smaller.
const chartWidth = 380

type axis struct {
	label    string
	min, max float64
	ticks    []plot.Tick
	log      bool
}

// A stretch is a part of the x axis with a name.
type stretch struct {
	from, to float64
	text     string
}

// A line goes from point to point. Its name is in the legend, unless it is empty.
type line struct {
	name   string
	stroke stroke
	points plotter.XYs
}

// A limit is a value of y that should not be exceeded.
type limit struct {
	y    float64
	name string
}

// A span is a range of x with a dot in it, in a row of its own.
type span struct {
	name           string
	stroke         stroke
	low, dot, high float64
	text           string // beside it
}

const (
	titleSize = vg.Length(12.5)
	textSize  = vg.Length(11)
	smallSize = vg.Length(10)
	lineSpace = vg.Length(14)
	swatch    = vg.Length(22) // the line in a legend
)

func style(size vg.Length, c colour) text.Style {
	return text.Style{Color: c.rgb(), Font: font.From(sans, size), Handler: plot.DefaultTextHandler, YAlign: draw.YBottom}
}

func bold(s text.Style) text.Style {
	s.Font.Weight = xfont.WeightBold
	return s
}

func widthOf(s text.Style, txt string) vg.Length { return s.Width(txt) }

// draw draws the chart onto a canvas of its size.
func (ch *chart) draw(c draw.Canvas) {
	c.FillPolygon(paper.rgb(), []vg.Point{c.Min, {X: c.Max.X, Y: c.Min.Y}, c.Max, {X: c.Min.X, Y: c.Max.Y}})
	c = draw.Crop(c, 2, -8, 2, -2)
	y := c.Max.Y - titleSize - 2
	c.FillText(ch.titleStyle(c.Max.X-c.Min.X-4), vg.Point{X: c.Min.X + 4, Y: y}, ch.title)
	y = ch.drawLegend(c, y-lineSpace-3)
	if len(ch.bands) > 0 {
		y -= ch.bandHeight(c)
	}
	below := draw.Crop(c, 0, 0, 0, y-c.Max.Y)
	p := ch.plot()
	data := p.DataCanvas(below)
	ch.drawBands(p, data)
	p.Draw(below)
	ch.drawLimits(p, data)
	ch.drawRanges(p, data)
}

// titleStyle is as large as fits into a width: the unit is at the end, and must not be cut off.
func (ch *chart) titleStyle(width vg.Length) text.Style {
	s := bold(style(titleSize, ink))
	if w := widthOf(s, ch.title); w > width {
		s.Font.Size *= width / w
	}
	return s
}

// drawLegend writes the names of lines and limits side by side, in as many rows as it takes. It returns where they end.
func (ch *chart) drawLegend(c draw.Canvas, y vg.Length) vg.Length {
	s, x := style(textSize, ink), c.Min.X+4
	entry := func(name string, dash draw.LineStyle) {
		w := swatch + 4 + widthOf(s, name)
		if x > c.Min.X+4 && x+w > c.Max.X {
			x, y = c.Min.X+4, y-lineSpace
		}
		mid := y + textSize*0.4
		c.StrokeLine2(dash, x, mid, x+swatch, mid)
		c.FillText(s, vg.Point{X: x + swatch + 4, Y: y}, name)
		x += w + 12
	}
	named := false
	for _, l := range ch.lines {
		if l.name != "" {
			entry(l.name, l.stroke.style())
			named = true
		}
	}
	for _, l := range ch.limits {
		entry(l.name, limitStyle)
		named = true
	}
	if !named {
		return y + lineSpace - 4
	}
	return y - 4
}

func (s stroke) style() draw.LineStyle {
	return draw.LineStyle{Color: s.colour.rgb(), Width: s.width, Dashes: s.dashes}
}

var limitStyle = draw.LineStyle{Color: red.rgb(), Width: 1, Dashes: []vg.Length{1.5, 1.5}}

// plot makes the axes and lines.
func (ch *chart) plot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	set := func(a *plot.Axis, from axis) {
		a.Label.Text = from.label
		a.Label.TextStyle.Font.Size, a.Label.TextStyle.Color = smallSize, muted.rgb()
		a.Tick.Label.Font.Size, a.Tick.Label.Color = smallSize, muted.rgb()
		a.Tick.LineStyle = draw.LineStyle{Color: muted.rgb(), Width: 0.5}
		a.LineStyle = draw.LineStyle{Color: muted.rgb(), Width: 0.7}
		a.Tick.Length, a.Padding = 3, 0
		a.Tick.Marker = plot.ConstantTicks(from.ticks)
		if from.log {
			a.Scale = plot.LogScale{}
		}
	}
	set(&p.X, ch.x)
	set(&p.Y, ch.y)
	g := plotter.NewGrid()
	g.Horizontal, g.Vertical = draw.LineStyle{Color: grid.rgb(), Width: 0.6}, draw.LineStyle{Color: grid.rgb(), Width: 0.6}
	if len(ch.bands) > 0 {
		g.Vertical.Width = 0
	}
	p.Add(g)
	for i := len(ch.lines) - 1; i >= 0; i-- { // the first on top
		l := ch.lines[i]
		p.Add(&plotter.Line{XYs: l.points, LineStyle: l.stroke.style()})
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = ch.x.min, ch.x.max, ch.y.min, ch.y.max // Add made them larger
	return p
}

// wrap breaks a text into lines no wider than w, at spaces.
func wrap(s text.Style, txt string, w vg.Length) (lines []string) {
	for _, word := range strings.Fields(txt) {
		if n := len(lines); n > 0 && widthOf(s, lines[n-1]+" "+word) <= w {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// textsOf are the names of bands as they fit, given how wide all of the x axis is. One that does not fit is left out.
func (ch *chart) textsOf(width vg.Length) (all [][]string) {
	s := style(smallSize, muted)
	for _, b := range ch.bands {
		w := width*vg.Length((b.to-b.from)/(ch.x.max-ch.x.min)) - 3
		lines := wrap(s, b.text, w)
		for _, l := range lines {
			if widthOf(s, l) > w {
				lines = nil
				break
			}
		}
		all = append(all, lines)
	}
	return all
}

const bandLine = vg.Length(11.5)

// bandHeight is the room that the names of bands take.
func (ch *chart) bandHeight(c draw.Canvas) (h vg.Length) {
	for _, lines := range ch.textsOf((c.Max.X - c.Min.X) * 0.88) {
		h = max(h, vg.Length(len(lines))*bandLine)
	}
	return h + 2
}

func (ch *chart) drawBands(p *plot.Plot, data draw.Canvas) {
	if len(ch.bands) == 0 {
		return
	}
	toX, _ := p.Transforms(&data)
	s := style(smallSize, muted)
	s.XAlign = draw.XCenter
	texts := ch.textsOf(data.Max.X - data.Min.X)
	for i, b := range ch.bands {
		from, to := max(toX(b.from), data.Min.X), min(toX(b.to), data.Max.X)
		if i%2 == 1 {
			data.FillPolygon(band.rgb(), []vg.Point{{X: from, Y: data.Min.Y}, {X: to, Y: data.Min.Y}, {X: to, Y: data.Max.Y}, {X: from, Y: data.Max.Y}})
		}
		if i > 0 {
			data.StrokeLine2(draw.LineStyle{Color: muted.rgb(), Width: 0.5, Dashes: []vg.Length{2, 2}}, from, data.Min.Y, from, data.Max.Y+4)
		}
		for k, l := range texts[i] {
			data.FillText(s, vg.Point{X: (from + to) / 2, Y: data.Max.Y + 3 + vg.Length(len(texts[i])-1-k)*bandLine}, l)
		}
	}
}

func (ch *chart) drawLimits(p *plot.Plot, data draw.Canvas) {
	_, toY := p.Transforms(&data)
	for _, l := range ch.limits {
		if y := toY(l.y); y <= data.Max.Y {
			data.StrokeLine2(limitStyle, data.Min.X, y, data.Max.X, y)
		}
	}
}

// drawRanges draws a row for each, the first one on top.
func (ch *chart) drawRanges(p *plot.Plot, data draw.Canvas) {
	toX, toY := p.Transforms(&data)
	s := style(smallSize, ink)
	s.YAlign = draw.YCenter
	for i, r := range ch.ranges {
		y, dot := toY(float64(len(ch.ranges)-1-i)), toX(r.dot)
		thick := draw.LineStyle{Color: r.stroke.colour.rgb(), Width: 3}
		data.StrokeLine2(thick, toX(r.low), y, toX(r.high), y)
		data.DrawGlyph(draw.GlyphStyle{Color: r.stroke.colour.rgb(), Radius: 4, Shape: draw.CircleGlyph{}}, vg.Point{X: dot, Y: y})
		// Beside the range, or before it where there is no room.
		x := max(toX(r.high), dot+4) + 5
		if w := widthOf(s, r.text); x+w > data.Max.X+6 {
			x = min(toX(r.low), dot-4) - 5 - w
		}
		data.FillText(s, vg.Point{X: x, Y: y}, r.text)
	}
}
