package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"github.com/galago-go/galago/bench/internal/report"
	"github.com/galago-go/galago/bench/internal/result"
)

// checkOutputs returns an error if what -html and -png name cannot be written, before anything is measured.
func checkOutputs(html, png string) error {
	var errs []error
	if info, err := os.Stat(html); html != "" && err == nil && info.IsDir() {
		errs = append(errs, fmt.Errorf("-html is %s, which is a directory: name a file", html))
	} else if _, err := os.Stat(filepath.Dir(html)); html != "" && err != nil {
		errs = append(errs, fmt.Errorf("-html is %s: there is no directory %s: make it, or name another", html, filepath.Dir(html)))
	}
	if info, err := os.Stat(png); png != "" && err == nil && !info.IsDir() {
		errs = append(errs, fmt.Errorf("-png is %s, which is a file: name a directory", png))
	} else if png != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("-png: %w", err))
	}
	return errors.Join(errs...)
}

// saveReport writes a page, and plots into a directory, as far as there are names for them.
func saveReport(f *result.File, html, png string) (err error) {
	if html != "" {
		err = report.Save(f, html)
	}
	if png != "" {
		_, failed := report.SavePNG(f, png)
		err = errors.Join(err, failed)
	}
	return err
}

// reportCommand makes a report of figures that were kept.
func (s *session) reportCommand() *cli.Command {
	var in []string
	var json, html, png string
	return &cli.Command{
		Name: "report", Usage: "a page, or plots, from figures that -json kept",
		DisableSliceFlagSeparator: true,
		OnUsageError:              asUsageError, HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "in", Destination: &in, Usage: "`file` that -json wrote; may be repeated, to put together what " +
				"several calls measured at one commit"},
			text(&json, "json", "", "write these figures to one `file`"),
			text(&html, "html", "", "write a page to a `file`"),
			text(&png, "png", "", "write each plot into a `directory`"),
		},
		Action: func(_ context.Context, c *cli.Command) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if len(in) == 0 {
				return &usageError{errors.New("-in is missing: name a file that -json wrote")}
			}
			if json == "" && html == "" && png == "" {
				return &usageError{errors.New("neither -json nor -html nor -png: name a file or a directory to write to")}
			}
			if err := checkOutputs(html, png); err != nil {
				return &usageError{err}
			}
			f, err := loadAll(in)
			if err != nil {
				return err
			}
			if json != "" {
				err = f.Save(json)
			}
			return errors.Join(err, saveReport(f, html, png))
		},
	}
}

func loadAll(names []string) (*result.File, error) {
	var all []*result.File
	for _, name := range names {
		f, err := result.Load(name)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return result.Join(all, names)
}
