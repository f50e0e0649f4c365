package northflank

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"strconv"
)

// PageSize is how many items a request of a list brings: the most that Northflank
// allows.
const PageSize = 100

// maxPages bounds a list: 100,000 items, and 100 hours of request budget.
const maxPages = 1000

// pages walks a list. next builds the request of the first page; items picks
// the list out of a page's data and names each item by its id.
//
// A list that cannot be read to its end yields an error: an incomplete list
// must not look complete.
func pages[T any](ctx context.Context, c *Client, action string, first func() (*request, error),
	items func(json.RawMessage) ([]T, error), id func(T) string,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		fail := func(err error) { yield(zero, fmt.Errorf("%s: %w", action, err)) }
		r, err := first()
		if err != nil {
			fail(err)
			return
		}
		r.query = url.Values{"per_page": {strconv.Itoa(PageSize)}, "page": {"1"}}
		seen := map[string]bool{} // cursors sent
		head := ""                // id of the page's first item
		for page := 1; page <= maxPages; page++ {
			var data json.RawMessage
			p, err := c.call(ctx, r, &data)
			if err != nil {
				fail(err)
				return
			}
			list, err := items(data)
			if err != nil {
				fail(unusable(r, err.Error()))
				return
			}
			if page > 1 && len(list) > 0 && id(list[0]) == head {
				fail(unusable(r, "the page after the last one is the same page"))
				return
			}
			for _, item := range list {
				if id(item) == "" {
					continue // a null in the list
				}
				if !yield(item, nil) {
					return
				}
			}
			// Northflank's Python client goes on while either is there.
			if !p.HasNextPage && (p.Cursor == "" || len(list) == 0) {
				return
			}
			if len(list) == 0 {
				fail(unusable(r, "an empty page says that more follow"))
				return
			}
			head = id(list[0])
			next := *r
			if p.Cursor != "" {
				if seen[p.Cursor] {
					fail(unusable(r, "the cursor does not move"))
					return
				}
				seen[p.Cursor] = true
				next.query = url.Values{"per_page": r.query["per_page"], "cursor": {p.Cursor}}
			} else {
				next.query = url.Values{"per_page": r.query["per_page"], "page": {strconv.Itoa(page + 1)}}
			}
			r = &next
		}
		fail(fmt.Errorf("more than %d pages", maxPages))
	}
}
