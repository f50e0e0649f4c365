package emulator

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Admin serves faults, switches, counters and what else the API does not show.
// It takes no token and belongs on a port of its own.
func (s *Server) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /counters", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Counters()) })
	mux.HandleFunc("DELETE /counters", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetCounters()
		writeJSON(w, s.Counters())
	})
	mux.HandleFunc("GET /bodies", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Bodies()) })
	mux.HandleFunc("GET /jobs", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Jobs()) })
	mux.HandleFunc("GET /job-runs", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.JobRuns()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.faults.List()) })
	mux.HandleFunc("POST /faults", s.adminAddFault)
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		s.faults.Remove()
		writeJSON(w, s.faults.List())
	})
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.faults.Remove(r.PathValue("id"))
		writeJSON(w, s.faults.List())
	})
	mux.HandleFunc("GET /switches", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Switches()) })
	mux.HandleFunc("PUT /switches", s.adminSetSwitches)
	mux.HandleFunc("GET /rate-limit", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Budget()) })
	mux.HandleFunc("PUT /rate-limit", s.adminSetRateLimit)
	mux.HandleFunc("POST /builds", s.adminAddBuild)
	return mux
}

func (s *Server) adminAddFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if !readJSON(w, r, &f) {
		return
	}
	id, err := s.faults.Add(f)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, map[string]string{"id": id})
}

func (s *Server) adminSetSwitches(w http.ResponseWriter, r *http.Request) {
	var positions map[string]string
	if !readJSON(w, r, &positions) {
		return
	}
	for name, value := range positions {
		if err := s.SetSwitch(name, value); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	writeJSON(w, s.Switches())
}

func (s *Server) adminSetRateLimit(w http.ResponseWriter, r *http.Request) {
	var change struct {
		Limit *int `json:"limit"`
		Spend int  `json:"spend"`
	}
	if !readJSON(w, r, &change) {
		return
	}
	if change.Limit != nil {
		s.SetRateLimit(*change.Limit)
	}
	s.Spend(change.Spend)
	writeJSON(w, s.Budget())
}

func (s *Server) adminAddBuild(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Build
		Project string `json:"project"`
		Service string `json:"service"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	if err := s.AddBuild(in.Project, in.Service, in.Build); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	writeJSON(w, in)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the client may be gone
}

// readJSON insists on the media type, which a form on a foreign web page cannot send.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	if mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); mediaType != "application/json" {
		http.Error(w, "want Content-Type: application/json", http.StatusUnsupportedMediaType)
		return false
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}
