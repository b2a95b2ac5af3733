package conn_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documentedPromises are the items of the list "# Promises", each in one line.
func documentedPromises(t *testing.T) (list []string) {
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	require.NoError(t, err)
	_, doc, ok := strings.Cut(f.Doc.Text(), "# Promises\n")
	require.True(t, ok)
	doc, _, _ = strings.Cut(doc, "\n# ")
	for _, item := range strings.Split(doc, "\n  - ")[1:] {
		list = append(list, strings.Join(strings.Fields(item), " "))
	}
	return list
}

func TestTheWorldChecksEachPromiseOfTheDocumentation(t *testing.T) {
	assert.Equal(t, documentedPromises(t), promises, "the constants of the world and the list in doc.go")
}

func TestEachPromiseHasATestOfItsName(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "promises_test.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var tests []string
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(d.Name.Name, "TestPromise_") {
			tests = append(tests, strings.TrimPrefix(d.Name.Name, "TestPromise_"))
		}
	}
	documented := documentedPromises(t)
	require.Len(t, tests, len(documented))
	for i, promise := range documented { // in the order of the documentation
		assert.True(t, strings.HasPrefix(camel(promise), tests[i]), "%s is not a test of %q", tests[i], promise)
	}
}

// camel writes words as a name, such as TheseWords.
func camel(s string) string {
	var out strings.Builder
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) }) {
		out.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return out.String()
}
