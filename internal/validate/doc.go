// Package validate answers: what is wrong with a prefect.yaml, and where? It
// reads the file as `prefect deploy` does, works out what each deployment's job
// variables come to, and holds that against the work pool's base job template
// and what [Lookups] know. It changes nothing and opens no file.
//
// The stages: source.go reads YAML into values that know their places; file.go
// finds the deployments in them; placeholders.go puts in what prefect deploy
// would; variables.go judges the job variables; [Run] puts it together.
package validate
