package emulator

import (
	"errors"
	"strings"
)

var errUnclosedQuote = errors.New("unclosed quote or trailing backslash")

// splitWords splits a command into words by the rules of a POSIX shell: blanks,
// single and double quotes, backslash. Nothing is expanded. Northflank docs say
// that a command is split into exec form; its quoting rules are unpublished.
func splitWords(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, escaped := false, false
	quote := rune(0)
	for _, c := range command {
		switch {
		case escaped:
			// In double quotes a backslash only escapes these.
			if quote == '"' && !strings.ContainsRune("$`\"\\\n", c) {
				word.WriteRune('\\')
			}
			if c != '\n' { // backslash-newline joins lines
				word.WriteRune(c)
			}
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case strings.ContainsRune(" \t\r\n", c):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errUnclosedQuote
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
