#!/bin/sh
# Hold a data registry and its DVC remote in a volume and serve both over HTTP, read only. Filled with sample data once.
set -eu
cd /data
if [ ! -f registry/.git/served ]; then
	python -m include.rossmann sample /data/registry
	cd registry
	# Who reads reaches the remote over HTTP; who publishes in this volume writes it as a folder.
	dvc remote modify --quiet storage url http://data:8000/registry_remote
	dvc remote modify --quiet --local storage url /data/registry_remote
	mkdir -p .git/hooks
	printf '#!/bin/sh\nexec git update-server-info\n' >.git/hooks/post-commit
	chmod +x .git/hooks/post-commit
	git commit --quiet --all --message "Serve the DVC remote over HTTP"
	git update-server-info
	touch .git/served
	cd ..
fi
exec python /opt/retrain/include/deploy/data_server.py 8000 /data
