package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// svg draws the chart for the page: its colours are those of the page, so that they suit light and dark, and it has a
// name and a description for those who do not see it.
func (ch *chart) svg() (template.HTML, error) {
	c := vgsvg.New(chartWidth, ch.height)
	ch.draw(draw.New(c))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return "", err
	}
	s := out.String()
	begin := strings.Index(s, "<g ")
	if begin < 0 {
		return "", fmt.Errorf("%s: what was drawn is no SVG", ch.id)
	}
	s = s[begin:]
	for _, c := range colours {
		s = regexp.MustCompile("(?i)"+c.light).ReplaceAllString(s, "var(--"+c.name+")")
	}
	s = fontOf.ReplaceAllStringFunc(s, func(font string) string {
		if strings.Contains(font, "font-weight:bold") {
			return "font-weight:bold;"
		}
		return ""
	})
	s = blanks.ReplaceAllString(s, " ")
	head := fmt.Sprintf(`<svg id="%s" viewBox="0 0 %d %.0f" role="img" aria-labelledby="%[1]s-t %[1]s-d"><title id="%[1]s-t">%[4]s</title><desc id="%[1]s-d">%[5]s</desc>`,
		ch.id, chartWidth, ch.height.Points(), html.EscapeString(ch.title), html.EscapeString(ch.says))
	return template.HTML(head + s), nil
}

var (
	fontOf = regexp.MustCompile(`font-family:[^"]*?font-style:[a-z]+;\s*`)
	blanks = regexp.MustCompile(`\s+`)
)

// pngDPI is the resolution of PNG files: two and a half pixels for a point of CSS.
const pngDPI = 240

// png writes the chart to a file of a directory, whose name it returns.
func (ch *chart) png(dir string) (name string, err error) {
	c := vgimg.NewWith(vgimg.UseWH(chartWidth*vg.Points(0.75), ch.height*vg.Points(0.75)), vgimg.UseDPI(pngDPI))
	c.Scale(0.75, 0.75) // a pixel of CSS is three quarters of a point
	ch.draw(draw.NewCanvas(c, chartWidth, ch.height))
	var out bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: c}).WriteTo(&out); err != nil {
		return "", err
	}
	name = filepath.Join(dir, ch.id+".png")
	return name, os.WriteFile(name, out.Bytes(), 0o666)
}
