#!/bin/sh
# Hold the models' data registries and their DVC remotes in a volume and serve them over HTTP, read only. Each is filled
# with sample data once.
set -eu
serve() { # model, folder of its registry
	[ ! -f "/data/$2/.git/served" ] || return 0
	cd /data
	python -m "include.models.$1" sample "/data/$2"
	cd "$2"
	# Who reads reaches the remote over HTTP; who publishes in this volume writes it as a folder.
	dvc remote modify --quiet storage url "http://data:8000/$2_remote"
	dvc remote modify --quiet --local storage url "/data/$2_remote"
	mkdir -p .git/hooks
	printf '#!/bin/sh\nexec git update-server-info\n' >.git/hooks/post-commit
	chmod +x .git/hooks/post-commit
	git commit --quiet --all --message "Serve the DVC remote over HTTP"
	git update-server-info
	touch .git/served
}
serve rossmann registry
serve churn churn
exec python /opt/retrain/deploy/data_server.py 8000 /data
